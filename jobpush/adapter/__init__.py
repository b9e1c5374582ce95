"""The kit for adapters: the contracts of queues, running commands, reading options, and the contract as tests."""
