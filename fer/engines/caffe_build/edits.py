"""What is changed in Caffe's sources, so that today's compilers, libraries and Pythons take them: data, and reasons."""

from dataclasses import dataclass
from pathlib import Path

from fer.errors import FerError
from fer.system.hashes import content_hash


@dataclass(frozen=True)
class Edit:
    """In `file`, `old`, which stands there exactly once, becomes `new`."""

    file: str
    why: str
    old: str
    new: str


_IMREAD = "OpenCV 4 has no CV_LOAD_IMAGE_*"
_PROPERTIES = "CUDA 13 took this field out of cudaDeviceProp"
_SIX = "Python 2 is gone, and `six` with it"
_WHERE_USED = "scikit-image and SciPy are needed by few functions: imported where they are used"
_NUMPY = "NumPy 2 has no tostring and fromstring of bytes"
_CUDNN = "cuDNN 8 took these three calls away: the first algorithm of its list whose workspace is within the limit"
_FLAG_OLD = """  int cv_read_flag = (is_color ? CV_LOAD_IMAGE_COLOR :
    CV_LOAD_IMAGE_GRAYSCALE);
"""
_FLAG_NEW = """  int cv_read_flag = (is_color ? cv::IMREAD_COLOR :
    cv::IMREAD_GRAYSCALE);
"""
_IMPORT_OLD = """  // boost python expects a void (missing) return value, while import_array
  // returns NULL for python3. import_array1() forces a void return value.
  import_array1();
"""
_ATTRIBUTES = """  int clock_rate = 0, copy_engines = 0, timeout = 0;
  cudaDeviceGetAttribute(&clock_rate, cudaDevAttrClockRate, device);
  cudaDeviceGetAttribute(&copy_engines, cudaDevAttrAsyncEngineCount, device);
  cudaDeviceGetAttribute(&timeout, cudaDevAttrKernelExecTimeout, device);
"""
_PICK = """
#if CUDNN_VERSION >= 8000
#define CUDNN_CONVOLUTION_FWD_SPECIFY_WORKSPACE_LIMIT 2
#define CUDNN_CONVOLUTION_BWD_FILTER_SPECIFY_WORKSPACE_LIMIT 2
#define CUDNN_CONVOLUTION_BWD_DATA_SPECIFY_WORKSPACE_LIMIT 2

template <typename Perf, typename Algo>
inline cudnnStatus_t cudnnFirstWithin(size_t limit, const Perf* perf, int count, Algo* algo) {
  for (int i = 0; i < count; ++i) {
    if (perf[i].status == CUDNN_STATUS_SUCCESS && perf[i].memory <= limit) {
      *algo = perf[i].algo;
      return CUDNN_STATUS_SUCCESS;
    }
  }
  return CUDNN_STATUS_NOT_SUPPORTED;
}
"""
_PICK_ONE = """
inline cudnnStatus_t cudnnGetConvolution{Name}Algorithm(cudnnHandle_t handle, {a_type} a, {b_type} b,
    cudnnConvolutionDescriptor_t conv, {c_type} c, int, size_t limit, cudnnConvolution{Short}Algo_t* algo) {{
  cudnnConvolution{Short}AlgoPerf_t perf[CUDNN_CONVOLUTION_{COUNT}_ALGO_COUNT];
  int count = 0;
  cudnnStatus_t status = cudnnGetConvolution{Name}Algorithm_v7(handle, a, b, conv, c,
      CUDNN_CONVOLUTION_{COUNT}_ALGO_COUNT, &count, perf);
  return status == CUDNN_STATUS_SUCCESS ? cudnnFirstWithin(limit, perf, count, algo) : status;
}}
"""
_TENSOR, _FILTER = "cudnnTensorDescriptor_t", "cudnnFilterDescriptor_t"
_CUDNN_NEW = _PICK + "".join(
    _PICK_ONE.format(Name=name, Short=short, COUNT=count, a_type=a, b_type=b, c_type=c)
    for name, short, count, a, b, c in (
        ("Forward", "Fwd", "FWD", _TENSOR, _FILTER, _TENSOR),
        ("BackwardFilter", "BwdFilter", "BWD_FILTER", _TENSOR, _TENSOR, _FILTER),
        ("BackwardData", "BwdData", "BWD_DATA", _FILTER, _TENSOR, _TENSOR),
    )
)
_STATUS_END = """  return "Unknown cudnn status";
}
"""
_MATH_OLD = """      pad_h, pad_w, stride_h, stride_w, 1, 1, CUDNN_CROSS_CORRELATION,
      dataType<Dtype>::type));
"""
_MATH_NEW = """#if CUDNN_VERSION >= 8000
  CUDNN_CHECK(cudnnSetConvolutionMathType(*conv, CUDNN_FMA_MATH));
#endif
"""
_SIX_NET_SPEC = """
class six:
    iteritems = staticmethod(lambda mapping: iter(mapping.items()))
"""
_SIX_PYCAFFE = (
    _SIX_NET_SPEC
    + """    itervalues = staticmethod(lambda mapping: iter(mapping.values()))
    next = staticmethod(next)
"""
)
_SKIMAGE_OLD = "    img = skimage.img_as_float(skimage.io.imread(filename, as_grey=not color)).astype(np.float32)\n"
_SKIMAGE_NEW = "    import skimage\n    import skimage.io\n" + _SKIMAGE_OLD.replace("as_grey", "as_gray")
_RESIZED = "            resized_std = resize(im_std, new_dims, order=interp_order, mode='constant')\n"
_ZOOMED = "    resized_im = zoom(im, scale + (1,), order=interp_order)\n"
_IO = "src/caffe/util/io.cpp"

EDITS = (
    Edit(
        _IO,
        "Protocol Buffers 3.6 and later take the limit alone",
        "coded_input->SetTotalBytesLimit(kProtoReadBytesLimit, 536870912);",
        "coded_input->SetTotalBytesLimit(kProtoReadBytesLimit);",
    ),
    Edit(
        _IO,
        _IMREAD,
        f"  cv::Mat cv_img;\n{_FLAG_OLD}  cv::Mat cv_img_o",
        f"  cv::Mat cv_img;\n{_FLAG_NEW}  cv::Mat cv_img_o",
    ),
    Edit(_IO, _IMREAD, f"{_FLAG_OLD}  cv_img = cv::imdecode", f"{_FLAG_NEW}  cv_img = cv::imdecode"),
    Edit("src/caffe/layers/window_data_layer.cpp", _IMREAD, "CV_LOAD_IMAGE_COLOR", "cv::IMREAD_COLOR"),
    Edit(
        "src/caffe/common.cpp",
        "CUDA 13 took three fields out of cudaDeviceProp: asked for one by one",
        "  CUDA_CHECK(cudaGetDeviceProperties(&prop, device));\n",
        f"  CUDA_CHECK(cudaGetDeviceProperties(&prop, device));\n{_ATTRIBUTES}",
    ),
    Edit("src/caffe/common.cpp", _PROPERTIES, "prop.clockRate", "clock_rate"),
    Edit("src/caffe/common.cpp", _PROPERTIES, "(prop.deviceOverlap ?", "(copy_engines > 0 ?"),
    Edit("src/caffe/common.cpp", _PROPERTIES, "(prop.kernelExecTimeoutEnabled ?", "(timeout ?"),
    Edit("include/caffe/util/cudnn.hpp", _CUDNN, _STATUS_END, _STATUS_END + _CUDNN_NEW),
    Edit(
        "include/caffe/util/cudnn.hpp",
        "plain float32: cuDNN 8 would by itself round products to TF32 on Ampere and later",
        _MATH_OLD,
        _MATH_OLD + _MATH_NEW,
    ),
    Edit(
        "python/caffe/_caffe.cpp",
        "Boost 1.90 asks for NumPy's types while functions are defined, so NumPy is imported first",
        "BOOST_PYTHON_MODULE(_caffe) {\n",
        "BOOST_PYTHON_MODULE(_caffe) {\n  import_array1();\n",
    ),
    Edit("python/caffe/_caffe.cpp", "it was imported above", _IMPORT_OLD, ""),
    Edit("python/caffe/pycaffe.py", _SIX, "\nimport six\n", _SIX_PYCAFFE),
    Edit("python/caffe/net_spec.py", _SIX, "import six\n", _SIX_NET_SPEC),
    Edit(
        "python/caffe/io.py",
        _WHERE_USED,
        "import skimage.io\nfrom scipy.ndimage import zoom\nfrom skimage.transform import resize\n",
        "",
    ),
    Edit("python/caffe/io.py", f"{_WHERE_USED}; as_grey is as_gray now", _SKIMAGE_OLD, _SKIMAGE_NEW),
    Edit("python/caffe/io.py", _WHERE_USED, _RESIZED, f"            from skimage.transform import resize\n{_RESIZED}"),
    Edit("python/caffe/io.py", _WHERE_USED, f"    {_ZOOMED}", f"        from scipy.ndimage import zoom\n    {_ZOOMED}"),
    Edit("python/caffe/io.py", _NUMPY, "arr.tostring()", "arr.tobytes()"),
    Edit("python/caffe/io.py", _NUMPY, "np.fromstring(", "np.frombuffer("),
)


def apply_edits(folder: Path, edits: tuple[Edit, ...] = EDITS) -> None:
    """Make the edits in the sources in `folder`. Raises FerError where one does not fit exactly once."""
    for edit in edits:
        path = folder / edit.file
        text = path.read_text(encoding="utf-8")
        if (found := text.count(edit.old)) != 1:
            first = edit.old.strip().splitlines()[0].strip()
            raise FerError(
                f"{path}: what is to be changed there stands in it {found} times, not once: {first!r}\n"
                f"The change is for: {edit.why}"
            )
        path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")


def edits_hash() -> str:
    """Another one where any edit is another."""
    return content_hash(*(text for edit in EDITS for text in (edit.file, edit.old, edit.new)))
