/**
 * The 3D scene, bundled apart from the viewer with three.js and only loaded when somebody opens it.
 *
 * @typedef {{x: number, y: number, z: number, color: string, size: number}} Dot
 * @typedef {{from: [number, number, number], to: [number, number, number], share: number, color: string}} Link
 */
import {
  Color, InstancedMesh, Matrix4, MeshBasicMaterial, PerspectiveCamera, Scene, SphereGeometry, Spherical, Vector3, WebGLRenderer,
} from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import { LineMaterial } from "three/examples/jsm/lines/LineMaterial.js";
import { LineSegments2 } from "three/examples/jsm/lines/LineSegments2.js";
import { LineSegmentsGeometry } from "three/examples/jsm/lines/LineSegmentsGeometry.js";

/** Lines of one object share a width, so links are sorted into a few. */
const WIDTHS = [0.7, 1.1, 1.8, 2.8];

/** @param {HTMLCanvasElement} canvas @param {() => void} moved */
export function createSpace(canvas, moved) {
  const renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true, preserveDrawingBuffer: true });
  const scene = new Scene();
  const camera = new PerspectiveCamera(40, 1, 0.01, 100);
  const controls = new OrbitControls(camera, canvas);
  controls.enableDamping = false;
  controls.addEventListener("change", render);
  /** @type {{dispose: () => void}[]} */
  let disposables = [];
  let size = [1, 1];
  let framed = "";

  /** Stand where everything is in sight; afterwards the reader's own place is kept. */
  function frame(height) {
    const key = `${height}`;
    if (key === framed) return;
    framed = key;
    const half = Math.tan((camera.fov / 2) * (Math.PI / 180));
    const distance = Math.max((height / 2 + 0.55) / half, 1.45 / (half * Math.min(camera.aspect, 3))) + 0.6;
    controls.target.set(0, height / 2, 0);
    camera.position.set(0.42, 0.42, 0.8).normalize().multiplyScalar(distance).add(controls.target);
    camera.updateMatrixWorld();
  }

  function render() {
    renderer.render(scene, camera);
    moved();
  }

  function clear() {
    scene.clear();
    for (const item of disposables) item.dispose();
    disposables = [];
  }

  return {
    /** @param {{dots: Dot[], links: Link[], height: number}} data */
    show({ dots, links, height }) {
      clear();
      const sphere = new SphereGeometry(1, 12, 8);
      const material = new MeshBasicMaterial();
      const spheres = new InstancedMesh(sphere, material, dots.length);
      dots.forEach(({ x, y, z, color, size: radius }, index) => {
        spheres.setMatrixAt(index, new Matrix4().makeScale(radius, radius, radius).setPosition(x, y, z));
        spheres.setColorAt(index, new Color(color));
      });
      scene.add(spheres);
      disposables.push(sphere, material, spheres);
      WIDTHS.forEach((width, level) => {
        const own = links.filter(({ share }) => Math.min(WIDTHS.length - 1, Math.floor(share * WIDTHS.length)) === level);
        if (!own.length) return;
        const geometry = new LineSegmentsGeometry();
        geometry.setPositions(own.flatMap(({ from, to }) => [...from, ...to]));
        geometry.setColors(own.flatMap(({ color }) => {
          const { r, g, b } = new Color(color);
          return [r, g, b, r, g, b];
        }));
        const lines = new LineMaterial({
          linewidth: width, vertexColors: true, transparent: true, opacity: 0.35 + 0.2 * level,
        });
        lines.resolution.set(size[0], size[1]);
        scene.add(new LineSegments2(geometry, lines));
        disposables.push(geometry, lines);
      });
      frame(height);
      controls.update();
      render();
    },

    resize(width, height) {
      size = [width, height];
      renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
      renderer.setSize(width, height, false);
      camera.aspect = width / height;
      camera.updateProjectionMatrix();
      scene.traverse((item) => item.material?.resolution?.set(width, height));
      render();
    },

    /** Turn by angles, for the keyboard. */
    turn(sideways, upwards, closer = 1) {
      const offset = camera.position.clone().sub(controls.target);
      const place = new Spherical().setFromVector3(offset);
      place.theta += sideways;
      place.phi = Math.min(Math.max(place.phi + upwards, 0.1), Math.PI - 0.1);
      place.radius *= closer;
      camera.position.setFromSpherical(place).add(controls.target);
      controls.update();
      render();
    },

    /** A point of space on the canvas, in CSS pixels; the third number grows with the distance. */
    project([x, y, z]) {
      const point = new Vector3(x, y, z).project(camera);
      return [((point.x + 1) / 2) * size[0], ((1 - point.y) / 2) * size[1], point.z];
    },

    camera: () => camera.position.toArray(),

    destroy() {
      clear();
      controls.dispose();
      renderer.dispose();
    },
  };
}
