"""The recipe's own model in MLflow: its logged model, the registered one, and the alias of it."""

from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient

ALIAS = "current"
_NOTE = (
    "Open-vocabulary segmentation with the recipe `{recipe}`. The alias `{alias}` points to the "
    "model of the newest results."
)


def registered_name(recipe: str) -> str:
    """Name of the registered model of a recipe."""
    return f"scan-{recipe}"


def alias(origin: str, workspace: str) -> str:
    """The alias of a workspace's model: several of them, and experiments, may share a registry.

    Args:
        origin: whose it is, see `place.origin`.
        workspace: the same for people; empty for the project's own store.
    """
    return f"{ALIAS}-{origin}" if workspace else ALIAS


def logged_model(run: Any) -> str | None:
    """Id of the model that a run has logged, if it has."""
    outputs = run.outputs.model_outputs if run.outputs else []
    return outputs[0].model_id if outputs else None


def input_models(run: Any) -> set[str]:
    """Ids of the models that a run has evaluated."""
    return {model.model_id for model in run.inputs.model_inputs} if run.inputs else set()


def register(client: MlflowClient, recipe: str, run_id: str, model_id: str, alias: str) -> None:
    """Let the alias point to a version with this model; nothing where it does.

    Args:
        client: of the store.
        recipe: its name.
        run_id: that logged the model.
        model_id: of the logged model.
        alias: of the version.
    """
    name = registered_name(recipe)
    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        aliases = {}
        client.create_registered_model(name, description=_NOTE.format(recipe=recipe, alias=ALIAS))
    source = f"models:/{model_id}"  # which the store keeps; a version's own `model_id` it forgets
    known = aliases.get(alias)
    if known is not None and client.get_model_version(name, known).source == source:
        return
    version = client.create_model_version(
        name, source=source, run_id=run_id, model_id=model_id, await_creation_for=0
    )
    client.set_registered_model_alias(name, alias, version.version)


def forget_model(client: MlflowClient, recipe: str, model_id: str) -> None:
    """Delete a logged model that another has replaced, and its versions."""
    for version in client.search_model_versions(f"name = '{registered_name(recipe)}'"):
        if version.source == f"models:/{model_id}":
            client.delete_model_version(version.name, version.version)
    client.delete_logged_model(model_id)
