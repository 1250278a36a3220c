"""Any recipe on any token store: the sizes that a config repeats of its data are taken from the store's header."""

from seitpp.engine.stores.find import add_store_arguments, check_store_exists, find_stores, find_test_stores
from seitpp.engine.stores.sizes import use_stores

__all__ = ["add_store_arguments", "check_store_exists", "find_stores", "find_test_stores", "use_stores"]
