"""What all experiments share: run, resume, devices, progress, results."""
