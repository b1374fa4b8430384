from hypothesis import HealthCheck, settings

# How long a busy machine takes to make up an example says nothing of the code.
settings.register_profile("herd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("herd")
