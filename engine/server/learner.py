"""What the learners believe, kept beside the journal that it is a fold of."""
