"""What a frame means: how a message is made, sealed, addressed and refused."""
