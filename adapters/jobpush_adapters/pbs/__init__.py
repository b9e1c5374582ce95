"""PBS: OpenPBS, PBS Pro and Torque."""
