"""The network: proposals, semantic integration, CLIP with contextual shift, checkpoints."""
