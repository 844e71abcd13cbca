"""The demo: a day of the 1998 World Cup on real parts, one Deployment with an HPA alone and one with a policy."""
