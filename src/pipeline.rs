//! The loop that joins the stations.
