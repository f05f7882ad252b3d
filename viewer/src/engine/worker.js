/** The worker's whole program; bundled into text and started from a blob, so that no second file is needed. */
import { createService } from "./service.js";

const service = createService((answer, transfer) => self.postMessage(answer, { transfer }));
self.onmessage = (event) => service(event.data);
