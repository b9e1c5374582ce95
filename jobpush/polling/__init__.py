"""When and how a scheduler is asked: the monitor, one look at a queue, the load that it may cause, nudges."""
