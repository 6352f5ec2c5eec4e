"""Little worlds other than pictures, each with its encoders and views: words, audio, video, agents."""
