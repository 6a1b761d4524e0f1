from instamsg.settings import *  # noqa: F403  (a settings module is its names)
from instamsg.settings import INSTALLED_APPS as OURS

INSTALLED_APPS = [*OURS, "tests.second_column"]
