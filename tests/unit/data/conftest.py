"""A local file server, an empty mirror, and no data from the environment, for every test in this folder."""

from helpers.mirror_fixtures import no_ambient_data, online, raw, site, target, waits

__all__ = ["no_ambient_data", "online", "raw", "site", "target", "waits"]
