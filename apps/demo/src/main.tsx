import { render } from "preact";
import { App } from "./shell/app";
import "./style.css";

// index.html has this element.
render(<App />, document.getElementById("app") as HTMLElement);
