"""The report on a run: one page that holds all it shows. What draws it is loaded when it draws."""

from milepost._report._live import follow as follow
from milepost._report._report import report as report
