"""The literature that the features rest on: every work that a ``source`` names, once."""

from __future__ import annotations

REFERENCES: dict[str, str] = {
    "Aboutanios 2005": "E. Aboutanios, B. Mulgrew, "
    '"Iterative Frequency Estimation by Interpolation on Fourier Coefficients", '
    "IEEE Transactions on Signal Processing 53(4), 1237-1242, 2005.",
    "Candan 2011": "C. Candan, "
    '"A Method for Fine Resolution Frequency Estimation From Three DFT Samples", '
    "IEEE Signal Processing Letters 18(6), 351-354, 2011.",
    "Candan 2013": "C. Candan, "
    '"Analysis and Further Improvement of Fine Resolution Frequency Estimation Method From Three DFT Samples", '
    "IEEE Signal Processing Letters 20(9), 913-916, 2013.",
    "Grünwald 2007": 'P. Grünwald, "The Minimum Description Length Principle", MIT Press, 2007.',
    "ITU-R SM.328": 'Recommendation ITU-R SM.328, "Spectra and bandwidth of emissions".',
    "ITU-R SM.443": 'Recommendation ITU-R SM.443-4, "Bandwidth measurement at monitoring stations", Annex 1, 2007.',
    "Jackson 2005": "B. Jackson et al., "
    '"An Algorithm for Optimal Partitioning of Data on an Interval", '
    "IEEE Signal Processing Letters 12(2), 105-108, 2005.",
    "Kay 1998": "S. M. Kay, "
    '"Fundamentals of Statistical Signal Processing, Volume II: Detection Theory", '
    "Prentice Hall, 1998.",
    "Lehtomaki 2007": "J. J. Lehtomaki, J. Vartiainen, M. Juntti, H. Saarnisaari, "
    '"CFAR Outlier Detection With Forward Methods", '
    "IEEE Transactions on Signal Processing 55(9), 4702-4706, 2007.",
    "Niculescu-Mizil 2005": "A. Niculescu-Mizil, R. Caruana, "
    '"Predicting Good Probabilities With Supervised Learning", '
    "22nd International Conference on Machine Learning, 625-632, 2005.",
    "Rappaport 2002": "T. S. Rappaport, "
    '"Wireless Communications: Principles and Practice", 2nd edition, Prentice Hall, 2002.',
    "Rife 1974": "D. C. Rife, R. R. Boorstyn, "
    '"Single-Tone Parameter Estimation from Discrete-Time Observations", '
    "IEEE Transactions on Information Theory 20(5), 591-598, 1974.",
    "Tzanetakis 2002": "G. Tzanetakis, P. Cook, "
    '"Musical Genre Classification of Audio Signals", '
    "IEEE Transactions on Speech and Audio Processing 10(5), 293-302, 2002.",
    "Vartiainen 2010": "J. Vartiainen, "
    '"Concentrated Signal Extraction Using Consecutive Mean Excision Algorithms", '
    "Acta Universitatis Ouluensis C 368, University of Oulu, 2010.",
}
"""How sources name a work -> the work."""
