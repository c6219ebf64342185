"""Exact search, ranking metrics and pair-score histograms on NumPy arrays or torch tensors.

Pure functions that know nothing of training. They dispatch on the type of their arrays and give
the same bits for either; torch is not imported before a tensor is handed over.
"""

# The order teaches.
# isort: off
from milepost.neighbors._backend import Array as Array
from milepost.neighbors._backend import Backend as Backend
from milepost.neighbors._backend import backend_of as backend_of
from milepost.neighbors._blocks import memory_budget as memory_budget
from milepost.neighbors._score import Distance as Distance
from milepost.neighbors._score import check_distance as check_distance
from milepost.neighbors._score import unit_rows as unit_rows
from milepost.neighbors._ranked_rows import AnyDistance as AnyDistance
from milepost.neighbors._ranked_rows import check_any_distance as check_any_distance
from milepost.neighbors._ranked_rows import own_scores as own_scores
from milepost.neighbors._search import pair_scores as pair_scores
from milepost.neighbors._rank_keys import Neighbors as Neighbors
from milepost.neighbors._search import search as search
from milepost.neighbors._search import count_before as count_before
from milepost.neighbors._search_outside import search_outside as search_outside
from milepost.neighbors._listed import listed_scores as listed_scores
from milepost.neighbors._listed import nearest_of as nearest_of
from milepost.neighbors._listed import nearest_listed as nearest_listed
from milepost.neighbors._ranking import hit_rate as hit_rate
from milepost.neighbors._ranking import recall as recall
from milepost.neighbors._ranking import precision as precision
from milepost.neighbors._ranking import average_precision as average_precision
from milepost.neighbors._ranking import average_precision_min as average_precision_min
from milepost.neighbors._ranking import average_precision_at_r as average_precision_at_r
from milepost.neighbors._ranking import r_precision as r_precision
from milepost.neighbors._ranking import reciprocal_rank as reciprocal_rank
from milepost.neighbors._ranking import ndcg as ndcg
from milepost.neighbors._ranking import graded_ndcg as graded_ndcg
from milepost.neighbors._ranking import majority as majority
from milepost.neighbors._cells import Cells as Cells
from milepost.neighbors._cells import cells_of as cells_of
from milepost.neighbors._cells import cells_of_list as cells_of_list
from milepost.neighbors._cells import keys_of as keys_of
from milepost.neighbors._grid import Grid as Grid
from milepost.neighbors._grid import longest_row as longest_row
from milepost.neighbors._ranges import Ranges as Ranges
from milepost.neighbors._histogram import pair_histogram as pair_histogram
from milepost.neighbors._labelled_blocks import Limits as Limits
from milepost.neighbors._row_tallies import row_tallies as row_tallies
from milepost.neighbors._operating_points import Point as Point
from milepost.neighbors._operating_points import accepted_share as accepted_share
from milepost.neighbors._operating_points import tar_at_far as tar_at_far
from milepost.neighbors._operating_points import at_recall as at_recall
from milepost.neighbors._operating_points import at_precision as at_precision
from milepost.neighbors._operating_points import equal_error as equal_error
from milepost.neighbors._operating_points import best_f1 as best_f1
from milepost.neighbors._operating_points import area_under_curve as area_under_curve
from milepost.neighbors._operating_points import area_error as area_error
from milepost.neighbors._operating_points import refinement as refinement
from milepost.neighbors._list_points import best_accuracy as best_accuracy
from milepost.neighbors._list_points import average_precision_of_pairs as average_precision_of_pairs
from milepost.neighbors._list_points import FoldAccuracy as FoldAccuracy
from milepost.neighbors._list_points import fold_accuracy as fold_accuracy
from milepost.neighbors._list_points import folds_in_order as folds_in_order
from milepost.neighbors._distance_measure import DistanceMeasure as DistanceMeasure
from milepost.neighbors._distances import CosineSimilarity as CosineSimilarity
from milepost.neighbors._distances import DotProductSimilarity as DotProductSimilarity
from milepost.neighbors._distances import LpDistance as LpDistance
from milepost.neighbors._distances import SNRDistance as SNRDistance
from milepost.neighbors._match_finder import MatchFinder as MatchFinder
from milepost.neighbors._calibration import Calibration as Calibration
from milepost.neighbors._pair_rates import PairRates as PairRates
from milepost.neighbors._pair_rates import rates_at as rates_at
from milepost.neighbors._indexer import Indexer as Indexer
from milepost.neighbors._indexer import NearestNeighbors as NearestNeighbors
from milepost.neighbors._index_file import IndexDetails as IndexDetails
from milepost.neighbors._faiss_indexer import FaissIndexer as FaissIndexer
from milepost.neighbors._exact_indexer import ExactIndexer as ExactIndexer
from milepost.neighbors._disk_indexer import DiskIndexer as DiskIndexer
