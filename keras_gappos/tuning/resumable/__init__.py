"""Resumable searches; the only folder that uses KerasTuner's private names."""
