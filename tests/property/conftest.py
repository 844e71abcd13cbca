from hypothesis import HealthCheck, settings

# The duration of an example depends more on the machine than on the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
