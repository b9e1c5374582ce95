"""Who tells the truth: how jobs ended, as workflow tools tell it, beside jobpush and what the jobs wrote: see ``__main__``."""
