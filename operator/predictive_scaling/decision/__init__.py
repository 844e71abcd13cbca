"""The decision: the floor of a policy, as pure functions of its situation."""
