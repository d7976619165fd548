"""Everything Homeport keeps, in the region's own Redis. The only package that imports redis.

``connection`` stays connected; ``link`` pipelines commands over it and ``subscriber`` hears the
sharded pub/sub; ``inbox`` is what a user's devices read; ``directory`` is the apps as a gateway
sees them; ``stamp`` is the region's wall; ``sweeper`` deletes what is past its time; ``admin`` is
for the command line.
"""
