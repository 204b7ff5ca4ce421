"""A test of the machine: ``python -m lucid.cuda.selftest`` compares a device with the CPU, and times it."""
