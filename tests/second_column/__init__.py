"""An app of somebody else, with encrypted columns of its own, which no command has heard of."""
