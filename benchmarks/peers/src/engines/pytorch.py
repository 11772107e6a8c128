"""PyTorch, eager, in float32 without TF32, as an engine of the benchmark.

Answers requests on standard input: a line of JSON, followed by as many bytes as its tensors need. The answer is a line of
JSON on standard output, followed by bytes where results are asked for.
"""

import ctypes
import json
import math
import sys
import time

import torch
import torch.nn.functional as F

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
torch.backends.cudnn.benchmark = True
torch.set_float32_matmul_precision("highest")


def wait():
    if CUDA:
        torch.cuda.synchronize()


def read_tensor(shape, kind):
    count = math.prod(shape)
    data = bytearray(sys.stdin.buffer.read(4 * count))
    dtype = torch.float32 if kind == "f32" else torch.int32
    return torch.frombuffer(data, dtype=dtype).reshape(shape).to(DEVICE)


def read_tensors(specs):
    return {spec["name"]: read_tensor(spec["shape"], spec["kind"]) for spec in specs}


class Training:
    def __init__(self, request):
        self.model = request["model"]
        self.params = {
            name: tensor.requires_grad_() for name, tensor in read_tensors(request["parameters"]).items()
        }
        self.statistics = read_tensors(request["statistics"])
        self.batches = []
        for _ in range(request["batches"]):
            batch = read_tensors(request["batch"])
            self.batches.append((batch["inputs"], batch["labels"].long()))
        if self.model["kind"] in ("transformer", "lstm"):
            self.batches = [(inputs.long(), labels) for inputs, labels in self.batches]
        if self.model["kind"] == "lstm":
            self.join_lstm()
        self.optimizer = torch.optim.SGD(
            list(self.params.values()), lr=request["learningRate"], momentum=request["momentum"]
        )
        self.steps = 0
        self.last = None

    def join_lstm(self):
        """Layers of torch.nn take the place of their kernels. Of its two biases the second stays 0."""
        features = self.model["features"]
        self.layers = []
        for index in range(self.model["layers"]):
            layer = torch.nn.LSTM(features, features, batch_first=True).to(DEVICE)
            own = {key: self.params.pop(f"lstm{index}.{key}") for key in ("inputKernel", "hiddenKernel", "bias")}
            with torch.no_grad():
                layer.weight_ih_l0.copy_(own["inputKernel"].T)
                layer.weight_hh_l0.copy_(own["hiddenKernel"].T)
                layer.bias_ih_l0.copy_(own["bias"])
                layer.bias_hh_l0.zero_()
            layer.bias_hh_l0.requires_grad_(False)
            self.params[f"lstm{index}.weight_ih"] = layer.weight_ih_l0
            self.params[f"lstm{index}.weight_hh"] = layer.weight_hh_l0
            self.params[f"lstm{index}.bias_ih"] = layer.bias_ih_l0
            self.layers.append(layer)

    def dense(self, name, x):
        return F.linear(x, self.params[f"{name}.kernel"].T, self.params[f"{name}.bias"])

    def layer_norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.params[f"{name}.scale"], self.params[f"{name}.bias"])

    def network(self, x):
        for index, layer in enumerate(self.model["layers"]):
            name = f"{layer['kind']}{index}"
            if layer["kind"] == "conv":
                padding = layer["window"] // 2 if layer["padding"] == "same" else 0
                x = F.conv2d(x, self.params[f"{name}.kernel"], self.params[f"{name}.bias"], padding=padding).relu()
            elif layer["kind"] == "maxPool":
                # Windows that reach beyond the image do so at its end.
                x = F.max_pool2d(x, layer["window"], 2, ceil_mode=layer["window"] == 3)
            else:
                x = self.dense(name, x.flatten(1))
                x = x.relu() if layer["relu"] else x
        return x

    def normalized(self, name, x, window, stride):
        x = F.conv2d(x, self.params[f"{name}.conv.kernel"], None, stride, window // 2)
        norm = f"{name}.norm"
        return F.batch_norm(
            x,
            self.statistics[f"{norm}.mean"],
            self.statistics[f"{norm}.variance"],
            self.params[f"{norm}.scale"],
            self.params[f"{norm}.bias"],
            training=True,
            momentum=0.1,
            eps=1e-5,
        )

    def resnet(self, x):
        x = self.normalized("stem", x, 3, 1).relu()
        before = self.model["widths"][0]
        for stage, width in enumerate(self.model["widths"]):
            for index in range(self.model["blocks"]):
                name = f"stage{stage}block{index}"
                stride = 2 if stage > 0 and index == 0 else 1
                shortcut = x if before == width else self.normalized(f"{name}.shortcut", x, 1, stride)
                inner = self.normalized(f"{name}.first", x, 3, stride).relu()
                x = (self.normalized(f"{name}.second", inner, 3, 1) + shortcut).relu()
                before = width
        return self.dense("head", x.mean((2, 3)))

    def transformer(self, tokens):
        batch, positions = tokens.shape
        features, heads = self.model["features"], self.model["heads"]

        def split(x):
            return x.reshape(batch, positions, heads, features // heads).transpose(1, 2)

        x = F.embedding(tokens, self.params["tokens.table"]) + self.params["positions.table"]
        for index in range(self.model["blocks"]):
            name = f"block{index}"
            normed = self.layer_norm(f"{name}.attentionNorm", x)
            query, key, value = (split(self.dense(f"{name}.attention.{own}", normed)) for own in ("query", "key", "value"))
            attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + self.dense(f"{name}.attention.output", attended.transpose(1, 2).reshape(batch, positions, features))
            inner = self.dense(f"{name}.expand", self.layer_norm(f"{name}.networkNorm", x))
            x = x + self.dense(f"{name}.contract", F.gelu(inner, approximate="tanh"))
        return self.dense("head", self.layer_norm("norm", x))

    def lstm(self, tokens):
        x = F.embedding(tokens, self.params["tokens.table"])
        for layer in self.layers:
            x, _ = layer(x)
        return self.dense("head", x)

    def run(self):
        inputs, labels = self.batches[self.steps % len(self.batches)]
        self.steps += 1
        logits = getattr(self, self.model["kind"])(inputs)
        loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.last = loss.detach()

    def loss(self):
        return self.last.item()


class Kernel:
    def __init__(self, request):
        self.operation = request["operation"]
        self.operands = list(read_tensors(request["operands"]).values())
        self.results = []

    def run(self):
        self.results = self.compute(self.operation, *self.operands)

    def compute(self, operation, *args):
        kind = operation["kind"]
        if kind == "matmul":
            return [args[0] @ args[1]]
        if kind == "convolution":
            if not operation["gradients"]:
                return [F.conv2d(args[0], args[1], padding=1)]
            x, kernel = (arg.detach().requires_grad_() for arg in args[:2])
            output = F.conv2d(x, kernel, padding=1)
            return [output.detach(), *torch.autograd.grad(output, [x, kernel], args[2])]
        if kind == "softmax":
            return [args[0].softmax(1)]
        if kind == "layerNorm":
            return [F.layer_norm(args[0], args[0].shape[1:], args[1], args[2])]
        if kind == "sum":
            return [args[0].sum() if operation["over"] == "all" else args[0].sum(1 if operation["over"] == "rows" else 0)]
        if kind == "chain":
            x, y = args
            squared = x.square()
            return [squared.neg().exp() * (y * 0.5 + 1) + (squared + 1).sqrt() * y.sigmoid()]
        raise ValueError(f"unknown operation {kind}")


def answer(value):
    sys.stdout.buffer.write((json.dumps(value) + "\n").encode())
    sys.stdout.buffer.flush()


def main():
    name = torch.cuda.get_device_name() if CUDA else f"CPU, {torch.get_num_threads()} threads"
    answer({"version": torch.__version__, "device": name})
    session = None
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        action = request["action"]
        try:
            if action in ("train", "kernel"):
                session = None
                if CUDA:
                    torch.cuda.reset_peak_memory_stats()
            if action == "train":
                session = Training(request)
                answer({})
            elif action == "kernel":
                session = Kernel(request)
                answer({})
            elif action == "time":
                wait()
                start = time.perf_counter()
                for _ in range(request["count"]):
                    session.run()
                wait()
                answer({"ms": 1000 * (time.perf_counter() - start)})
            elif action == "loss":
                answer({"loss": session.loss()})
            elif action == "peak":
                answer({"bytes": torch.cuda.max_memory_allocated() if CUDA else None})
            elif action == "results":
                data = [result.detach().float().cpu().contiguous() for result in session.results]
                answer({"shapes": [list(result.shape) for result in data]})
                for result in data:
                    sys.stdout.buffer.write(ctypes.string_at(result.data_ptr(), 4 * result.numel()))
                sys.stdout.buffer.flush()
            else:
                answer({"error": f"unknown action {action}"})
        except Exception as error:  # a case that PyTorch cannot run is a row of the table
            answer({"error": f"{type(error).__name__}: {error}"})


main()
