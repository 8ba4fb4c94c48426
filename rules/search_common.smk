"""What is searched, and on what."""

from scan_core.params.search_space import searched_benchmarks

SEARCHES = {
    name: search
    for name, search in PARAMS.searches.items()
    if search.recipe in (None, RECIPE_NAME)
}


def benchmark_names(wildcards):
    try:
        return searched_benchmarks(wildcards.search, SEARCHES[wildcards.search], RECIPE)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def file_of_benchmarks(wildcards, file):
    return [f"{DATA}/benchmarks/{name}/{file}" for name in benchmark_names(wildcards)]


def indexes_of_search(wildcards):
    return file_of_benchmarks(wildcards, "index.json")


def verifications_of_search(wildcards):
    return file_of_benchmarks(wildcards, "verification.json")


def search_as_text(wildcards):
    return SEARCHES[wildcards.search].model_dump_json()


def benchmarks_of_search(wildcards):
    """For each benchmark where it lies, what it is scored by, and the recipe's own settings."""
    return json.dumps(
        {
            name: {
                "index": f"{DATA}/benchmarks/{name}/index.json",
                "classes": BENCHMARKS[name].classes,
                "settings": test_settings(RECIPE, name),
            }
            for name in benchmark_names(wildcards)
        }
    )
