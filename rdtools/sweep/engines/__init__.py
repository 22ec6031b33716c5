"""Engines, which do the tasks of a run: functions of the tasks and their leases."""
