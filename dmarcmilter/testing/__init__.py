"""A milter client and a name server for tests, demo, fuzzing and benchmarks."""
