"""From a trained encoder to a service: int8 quantisation, a bundle that can be checked, two HTTP servers.

quantization   folding BatchNorm, scale and zero point, simulated quantisation (torch only)
export         encoder + probe as one ONNX file, in float32 or int8 (needs the packages of `serve`)
bundle         a folder with model, class names, preprocessing and checksums; loading it and asking it
pictures       what a server does with the bytes it is sent
server         the bundle over HTTP with Starlette and uvicorn
torchserve     the bundle over HTTP with TorchServe

Nothing is imported here, and `bundle`, `pictures` and `server` do without torch: a server starts in a second.
"""

HOW_TO_GET = "run this with `uv run --group serve`, or without a clone install ssl-lessons with its extra serve"
