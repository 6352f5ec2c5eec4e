"""Words from their neighbours: corpora, co-occurrence counts, objectives, and the geometry of word vectors."""
