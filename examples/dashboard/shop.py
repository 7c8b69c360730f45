"""A year of made-up orders, the same on every run."""

import numpy as np
import pandas as pd
import streamlit as st

PRICES = {"Assam": 9.5, "Darjeeling": 14.0, "Earl Grey": 11.0, "Rooibos": 8.0, "Sencha": 12.5}
LAST_DAY = pd.Timestamp("2026-01-31")


@st.cache_data
def orders() -> pd.DataFrame:
    """Returns one row per order: day, product, kilos, revenue."""
    chance = np.random.default_rng(seed=7)
    count = 5_000
    day = LAST_DAY - pd.to_timedelta(chance.integers(0, 365, count), unit="D")
    product = chance.choice(list(PRICES), count, p=[0.3, 0.1, 0.3, 0.1, 0.2])
    season = 1 + 0.4 * np.cos(2 * np.pi * day.dayofyear / 365)
    kilos = np.round(chance.gamma(2, 1.5, count) * season, 2)
    table = pd.DataFrame({"day": day, "product": product, "kilos": kilos})
    table["revenue"] = (table["kilos"] * table["product"].map(PRICES)).round(2)
    return table.sort_values("day", ignore_index=True)


def recent_orders(days: int) -> pd.DataFrame:
    """Returns the orders of the last `days` days."""
    table = orders()
    return table[table["day"] > LAST_DAY - pd.Timedelta(days=days)]
