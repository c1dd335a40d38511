// Compiles ../tidelog.ksy to Python: node compile.js KSY OUTDIR
const fs = require('fs');
const path = require('path');
const yaml = require('yaml');
const compiler = require('kaitai-struct-compiler');

const [ksy, out] = process.argv.slice(2);
const spec = yaml.parse(fs.readFileSync(ksy, 'utf8'));
compiler.compile('python', spec, null, false).then((files) => {
  for (const [name, text] of Object.entries(files)) {
    fs.writeFileSync(path.join(out, name), text);
  }
}).catch((error) => {
  console.error(error.toString());
  process.exit(1);
});
