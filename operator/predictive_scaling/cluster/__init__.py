"""The Kubernetes API: client, informer cache, leadership and Events."""
