"""The noise process T[true, given], and how many labels are wrong: from matrices that are known to estimates."""
