"""jobpush's own adapters: one module for each scheduler. They know the contracts of jobpush and nothing above them."""
