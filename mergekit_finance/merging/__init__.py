"""Merges of recipes, into live models or folders.

in_memory      any recipe that mergekit-yaml takes -> a live model
on_disk        any recipe -> a folder, as mergekit-yaml writes it
session        MergeSession: many points of one recipe, merged one after the other into one live model
opening        a recipe, planned and checked, with its inputs mapped from their files
placement      on which device the inputs are held
point_values   the values of a point, checked
compare        distances between our methods and mergekit's
"""
