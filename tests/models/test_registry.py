"""The table from names to classes: current, lazy, and strict about what a class declares."""

import json
import subprocess
import sys
from importlib import import_module

import pytest

import numbatorch as nt
from numbatorch import nn
from numbatorch.models import registry


@pytest.mark.parametrize("declared", registry.declarations(), ids=lambda declared: declared.name)
def test_the_text_of_a_file_says_what_importing_it_registers(declared: registry.Declared) -> None:
    cls = getattr(import_module(declared.module), declared.name)
    keys = {key for key, found in registry._classes.items() if found is cls}
    assert keys == set(declared.keys)
    assert getattr(nt.models, declared.name) is cls


def test_every_decorator_is_found() -> None:
    found = [
        (declared.module, declared.name) for declared in registry.declarations() if declared.keys
    ]
    assert ("numbatorch.models.llama", "Llama") in found
    assert ("numbatorch.models.bert", "Bert") in found
    assert len(found) == len(set(found)) == len(registry.declarations())


def test_importing_models_imports_no_architecture() -> None:
    code = (
        "import json, sys, numbatorch.models as models; models.from_pretrained; dir(models);"
        "print(json.dumps([n for n in sys.modules if n.startswith('numbatorch.models.')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    declared = {declared.module for declared in registry.declarations()}
    assert not declared & set(json.loads(done.stdout))


def test_a_name_has_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))

    class First(nn.Module):
        from_gguf = classmethod(lambda cls, file, device: cls())

    class Second(First):
        pass

    declare = registry.architecture(task="text-generation", gguf="twice")
    declare(First)
    declare(First)  # a module that is loaded again
    with pytest.raises(ValueError, match=r"twice is declared twice\n  first .*First\n.*Second"):
        declare(Second)
    assert registry.find("gguf", "twice") is First


def test_a_class_has_the_methods_that_its_names_need() -> None:
    declare = registry.architecture(task="text-generation", hf="NoneForCausalLM")
    with pytest.raises(TypeError, match="Module declares hf names and has no from_hf"):
        declare(nn.Module)
    assert registry.find("hf", "NoneForCausalLM") is None


def test_a_task_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="task is 'classify', one of: text-generation"):
        registry.architecture(task="classify")


def test_names_of_the_package() -> None:
    assert {"Bert", "Llama", "from_pretrained"} <= set(dir(nt.models))
    code = "import numbatorch as nt; print(nt.models.llama.LlamaConfig is nt.models.LlamaConfig)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"
    assert nt.models.LlamaConfig is import_module("numbatorch.models.llama").LlamaConfig
    with pytest.raises(AttributeError, match=r"numbatorch\.models.*'Nothing'"):
        _ = nt.models.Nothing
