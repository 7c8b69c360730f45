"""A module of an app, with functions that are decorated once in each process."""

import streamlit as st
from console import ran


@st.cache_data
def cube(number):
    ran(f"cube {number}")
    return number**3


@st.cache_data
def square(number):
    ran(f"library square {number}")
    return number * number


class Shelf:
    def __init__(self, name):
        self.name = name

    @st.cache_data
    def book(_self, number):
        ran(f"book {number}")
        return f"{_self.name} {number}"

    @st.cache_data(hash_funcs={"library.Shelf": lambda shelf: shelf.name})
    def page(self, number):
        ran(f"page {self.name} {number}")
        return f"{self.name} {number}"

    @staticmethod
    @st.cache_data
    def size(number):
        ran(f"size {number}")
        return number * 10
