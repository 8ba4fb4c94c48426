"""What is searched, and on what."""

from scan_core.params.search_space import not_searched, searched_benchmarks

SEARCHES = {
    name: search
    for name, search in PARAMS.searches.items()
    if search.recipe in (None, RECIPE_NAME)
}


def can_be_made(search):
    """Whether a search fits the recipe; one that does not says so when it is asked for."""
    try:
        searched_benchmarks(search, SEARCHES[search], RECIPE)
    except InputError:
        return False
    return True


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


def search_made_of(wildcards):
    search = SEARCHES[wildcards.search]
    return made_of(
        "search_settings",
        wildcards.search,
        search=search.model_dump(),
        benchmarks={
            name: [scored_by(name), not_searched(search, RECIPE, name)]
            for name in benchmark_names(wildcards)
        },
    )


def search_file(wildcards):
    return addressed(SEARCHES[wildcards.search].model_dump())


def classes_of_search(wildcards):
    return [BENCHMARKS[name].classes for name in benchmark_names(wildcards)]
