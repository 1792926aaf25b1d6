"""Property tests here are about values; how busy the machine is says nothing about them."""

from hypothesis import HealthCheck, settings

settings.register_profile("search_plugin", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("search_plugin")
