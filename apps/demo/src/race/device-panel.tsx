import type { OpenedDevice } from "../worker/protocol";
import { gpu, measure, measurement } from "./engine";
import { isActive } from "./session";

/** The GPU, its limits, and how fast it multiplies matrices. */
export function DevicePanel() {
  const state = gpu.value;
  if (state.kind === "missing") return null;
  return (
    <section class="panel device" aria-labelledby="device-title">
      <h2 id="device-title">Your GPU</h2>
      {state.kind === "unknown" ? (
        <p class="muted">Opening …</p>
      ) : (
        <>
          <p>{nameOf(state.device)}</p>
          {state.device.adapter.isSoftware && (
            <p class="hint">This adapter computes on the CPU: everything works, but slowly.</p>
          )}
          <dl>
            {factsOf(state.device).map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{value}</dd>
              </div>
            ))}
            <div>
              <dt>Matrix products, f32</dt>
              <dd>
                <Rate />
              </dd>
            </div>
          </dl>
        </>
      )}
    </section>
  );
}

function Rate() {
  const found = measurement.value;
  return (
    <>
      <span role="status">
        {found.kind === "running" && "measuring … "}
        {found.kind === "failed" && `${found.message} `}
        {found.kind === "done" && `${format(found.gflops)} GFLOPS (${found.size} × ${found.size}) `}
      </span>
      <button type="button" class="quiet" disabled={found.kind === "running" || isActive.value} onClick={measure}>
        {found.kind === "done" ? "Again" : "Measure"}
      </button>
    </>
  );
}

function nameOf({ adapter: { vendor, architecture, device, description } }: OpenedDevice): string {
  return [description || device, [vendor, architecture].filter(Boolean).join(" ")].filter(Boolean).join(", ");
}

function factsOf({ limits, features, adapter }: OpenedDevice): readonly (readonly [string, string])[] {
  const mebibytes = (bytes: number) => `${format(bytes / 2 ** 20)} MiB`;
  const { subgroupMinSize, subgroupMaxSize } = adapter;
  return [
    ["Largest buffer", mebibytes(limits.maxBufferSize)],
    ["Largest storage binding", mebibytes(limits.maxStorageBufferBindingSize)],
    ["Storage buffers a kernel", String(limits.maxStorageBuffersPerShaderStage)],
    ["Invocations a workgroup", String(limits.maxComputeInvocationsPerWorkgroup)],
    ["Workgroup memory", `${format(limits.maxComputeWorkgroupStorageSize / 1024)} KiB`],
    ["Subgroups", subgroupMaxSize === 0 ? "unknown" : [...new Set([subgroupMinSize, subgroupMaxSize])].join(" to ")],
    ["Optional features", features.length === 0 ? "none" : features.join(", ")],
  ];
}

function format(value: number): string {
  return Number(value.toPrecision(3)).toLocaleString("en");
}
