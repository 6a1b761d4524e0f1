"""What the documentation says about speed, measured: `python -m tests.benchmarks [NAME]`.

Each module has a `run` that returns tables. A speed stands beside a yardstick taken in the same
rounds, since the ratio travels from machine to machine and the number does not.
"""
