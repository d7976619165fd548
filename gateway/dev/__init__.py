"""`homeport dev`: what a gateway on one machine needs that a real one is given: a Valkey of its
own, certificates, and the data folder in which other commands find them."""
