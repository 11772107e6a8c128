import "./help.css";

/** What the page is, what it needs, and how to get it. */
export function View() {
  return (
    <article class="help panel">
      <h1>Help</h1>
      <h2>What this is</h2>
      <p>
        Thalweg trains networks in your browser, on your GPU, and measures how long each optimizer needs to reach a
        target. The engine, the test problems and the records are the same as on the command line in Node. Nothing that
        you do here leaves your device.
      </p>
      <p>
        A <em>thalweg</em> is the line of the deepest points along a valley: where water runs, and where optimizers go.
      </p>

      <h2>Browsers with WebGPU</h2>
      <table>
        <thead>
          <tr>
            <th scope="col">Browser</th>
            <th scope="col">WebGPU</th>
          </tr>
        </thead>
        <tbody>
          {browsers.map(({ name, support }) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{support}</td>
            </tr>
          ))}
        </tbody>
      </table>

      <h2>If it is missing</h2>
      <ul>
        {remedies.map(({ title, text }) => (
          <li key={title}>
            <strong>{title}.</strong> {text}
          </li>
        ))}
      </ul>

      <h2>Without a GPU</h2>
      <p>
        The view “Race” then shows recorded runs, and opens your own. On a computer without a GPU, Thalweg runs in Node
        on a software adapter: <code>npm ci &amp;&amp; npm start</code> in the repository.
      </p>

      <h2>Keys</h2>
      <p>
        Everything can be reached with Tab. Enter in a field starts the race. Charts have their numbers in a table under
        “Data”.
      </p>
    </article>
  );
}

const browsers = [
  { name: "Chrome, Edge", support: "on Windows, macOS and ChromeOS from version 113, on Android from 121" },
  { name: "Chrome on Linux", support: "depends on version and driver; see below" },
  { name: "Safari", support: "from version 26 on macOS, iOS and iPadOS" },
  { name: "Firefox", support: "on Windows from version 141, on macOS with Apple silicon from 145" },
] as const;

const remedies = [
  {
    title: "The page's address",
    text: "WebGPU is there for pages that come over https or from localhost only. Over plain http it is missing in every browser.",
  },
  {
    title: "Hardware acceleration",
    text: "Turn on “Use graphics acceleration when available” in the browser's system settings, and start the browser anew. Then look at chrome://gpu or about:support: the line “WebGPU” says why it is blocked.",
  },
  {
    title: "Chrome on Linux",
    text: "Open chrome://flags, turn on “Unsafe WebGPU Support” and “Vulkan”, and start the browser anew. A current driver helps: Mesa 24 or later, or the maker's own.",
  },
  {
    title: "Firefox elsewhere",
    text: "Open about:config and set dom.webgpu.enabled to true. Nightly builds have it on more systems.",
  },
  {
    title: "Safari before version 26",
    text: "In Safari 18, turn on “WebGPU” under Develop, Feature Flags (on iPhone and iPad: Settings, Apps, Safari, Advanced, Feature Flags).",
  },
  {
    title: "Virtual machines and remote desktops",
    text: "They often have no GPU. The browser's software adapter may do, slowly: start Chrome with --enable-unsafe-swiftshader.",
  },
] as const;
