"""Sound: a world of spoken syllables, the log-mel spectrogram, views, a small encoder, objectives, and recorded digits."""
