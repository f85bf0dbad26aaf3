"""What several tests share: a slow reference, generators of networks and models, a trained run."""
