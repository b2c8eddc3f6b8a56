"""The API for plugins of third parties.

api         the types that hooks return: Dataset, Expert, Family, Section
hookspecs   the specifications of the five hooks
manager     finds plugins, isolates their errors, and collects what they provide
"""
