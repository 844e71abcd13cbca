"""The demo: a match day on real parts, with one Deployment with an HPA alone and one with a policy."""
