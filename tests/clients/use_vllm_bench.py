"""In vLLM's environment: ``vllm bench serve`` with the arguments of its command line.

The command itself asks for a package of the name "vllm", which the build for CPUs does not bear.
"""

import argparse

from vllm.benchmarks.serve import add_cli_args, main

parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
