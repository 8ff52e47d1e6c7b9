"""What can be fetched: one table. Addresses, sizes and hashes are those that public sources give; None is unknown.

docs/datasets has a page for each data set; it says who publishes which hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType

from bench.errors import unknown_name
from bench.fetching.entry import Entry, File

PTAK = "http://ptak.felk.cvut.cz"
SUMA = f"{PTAK}/personal/sumapave/public"
REVISITED = "https://cmp.felk.cvut.cz/revisitop/data/datasets"
VGG = "https://www.robots.ox.ac.uk/~vgg/data"
GLDV2 = "https://s3.amazonaws.com/google-landmark"
MET = f"{PTAK}/met/dataset"
HTTP_ONLY = "its authors link this server by http"
NO_LICENCE = "not stated; ask the authors"
FLICKR = "research; images under Flickr's terms of use, see the home page"


def _landmark_archives(side: str, count: int) -> tuple[File, ...]:
    names = [f"images_{number:03}" for number in range(count)]
    return tuple(
        File(
            url=f"{GLDV2}/{side}/{name}.tar",
            name=f"{side}_{name}.tar",
            md5_url=f"{GLDV2}/md5sum/{side}/md5.{name}.txt",
            unpack_to=side,
        )
        for name in names
    )


def _named(address: str, *names: str) -> tuple[File, ...]:
    """Files that keep the names that they have on the server."""
    return tuple(File(url=f"{address}/{name}", name=PurePosixPath(name).name) for name in names)


def _ames_descriptors(dataset: str) -> Entry:
    return Entry(
        name=f"ames-{dataset}",
        kind="descriptors",
        note=f"DINOv2 local descriptors and first-stage lists of {dataset}, by the authors of AMES",
        licence=NO_LICENCE,
        home="https://github.com/pavelsuma/ames",
        folder=dataset,
        plain_http=HTTP_ONLY,
        files=(
            *_named(f"{REVISITED}/{dataset}", f"gnd_{dataset}.pkl"),
            *_named(
                f"{SUMA}/ames/data/{dataset}",
                "dinov2_query_local.hdf5",
                "dinov2_gallery_local.hdf5",
                "nn_dinov2.pkl",
                "nn_superglobal.pkl",
                "test_query.txt",
                "test_gallery.txt",
            ),
        ),
    )


_ALL = (
    Entry(
        name="roxford5k",
        kind="data set",
        note="Revisited Oxford: 4,993 images, 70 queries; faces are blurred since 2022",
        licence=FLICKR,
        home="http://cmp.felk.cvut.cz/revisitop",
        folder="roxford5k",
        size="about 1.9 GB",
        files=(
            File(
                url=f"{VGG}/oxbuildings/oxbuild_images-v1.tgz", name="oxbuild_images-v1.tgz", unpack_to="jpg", flat=True
            ),
            *_named(f"{REVISITED}/roxford5k", "gnd_roxford5k.pkl"),
        ),
    ),
    Entry(
        name="rparis6k",
        kind="data set",
        note="Revisited Paris: 6,322 images, 70 queries; faces are blurred since 2022",
        licence=FLICKR,
        home="http://cmp.felk.cvut.cz/revisitop",
        folder="rparis6k",
        files=(
            File(url=f"{VGG}/parisbuildings/paris_1-v1.tgz", name="paris_1-v1.tgz", unpack_to="jpg", flat=True),
            File(url=f"{VGG}/parisbuildings/paris_2-v1.tgz", name="paris_2-v1.tgz", unpack_to="jpg", flat=True),
            *_named(f"{REVISITED}/rparis6k", "gnd_rparis6k.pkl"),
        ),
    ),
    Entry(
        name="revisitop1m",
        kind="data set",
        note="the million distractors of Revisited Oxford and Paris, in 100 archives",
        licence="not stated; the images come from Flickr",
        home="http://cmp.felk.cvut.cz/revisitop",
        folder="revisitop1m",
        plain_http=HTTP_ONLY,
        files=(
            *(
                File(
                    url=f"{PTAK}/revisitop/revisitop1m/jpg/revisitop1m.{number}.tar.gz",
                    name=f"revisitop1m.{number}.tar.gz",
                    unpack_to="jpg",
                )
                for number in range(1, 101)
            ),
            *_named(f"{PTAK}/revisitop/revisitop1m", "revisitop1m.txt"),
        ),
    ),
    Entry(
        name="gldv2",
        kind="data set",
        note="Google Landmarks v2, retrieval: index of 761,757 images, 117,577 test images, solution v2.1",
        licence="annotations CC BY 4.0; images of index and test CC0 or public domain, not warranted",
        home="https://github.com/cvdfoundation/google-landmark",
        folder="gldv2",
        size="about 95 GB",
        files=(
            *_landmark_archives("index", 100),
            *_landmark_archives("test", 20),
            *_named(f"{GLDV2}/metadata", "index.csv", "index_image_to_landmark.csv", "test.csv"),
            *_named(f"{GLDV2}/ground_truth", "retrieval_solution_v2.1.csv"),
        ),
    ),
    Entry(
        name="sop",
        kind="data set",
        note="Stanford Online Products: 120,053 images of 22,634 products",
        licence=NO_LICENCE,
        home="https://cvgl.stanford.edu/projects/lifted_struct/",
        folder="sop",
        plain_http="the server answers by ftp and http; the hash is known",
        files=(
            File(
                url="http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
                name="Stanford_Online_Products.zip",
                size_bytes=3_083_860_082,
                sha256="b04fa78210e69fab050ce73939550e1cd0f96890bdd98ec9fee732c3b756ef48",
                unpack_to="Stanford_Online_Products",
                take="Stanford_Online_Products",
            ),
        ),
    ),
    Entry(
        name="cub",
        kind="data set",
        note="CUB-200-2011: 11,788 images of 200 kinds of birds",
        licence="non-commercial research and education",
        home="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        folder="cub",
        files=(
            File(
                url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                name="CUB_200_2011.tgz",
                size_bytes=1_150_585_339,
                sha256="0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
                md5="97eceeb196236b17998738112f37df78",
                unpack_to="CUB_200_2011",
                take="CUB_200_2011",
            ),
        ),
    ),
    Entry(
        name="inshop",
        kind="data set",
        note="DeepFashion, In-shop Clothes Retrieval: 14,218 queries, gallery of 12,612",
        licence="non-commercial research, by agreement",
        home="https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
        folder="inshop",
        by_hand="Agree to the terms on the home page, download Img/img.zip and Eval/list_eval_partition.txt, "
        "and unpack the archive.",
        needs=("Eval/list_eval_partition.txt", "img"),
    ),
    Entry(
        name="instre",
        kind="data set",
        note="INSTRE: 28,543 images of 200 objects, 1,250 of them queries",
        licence=NO_LICENCE,
        home="http://123.57.42.89/instre/home.html",
        folder="instre",
        size="about 2.3 GB",
        by_hand="Download instre.tar.gz and gnd_instre.mat from ftp://ftp.irisa.fr/local/texmex/corpus/instre/, and "
        "unpack the images.",
        needs=("gnd_instre.*",),
    ),
    Entry(
        name="met",
        kind="data set",
        note="The Met: about 397,000 images of 224,000 exhibits; photographs by visitors as queries",
        licence="annotations CC BY 4.0; images by their owners, see the home page",
        home="http://cmp.felk.cvut.cz/met",
        folder="met",
        size="about 30 GB",
        plain_http=HTTP_ONLY,
        files=(
            File(url=f"{MET}/ground_truth.tar.gz", name="ground_truth.tar.gz", unpack_to="ground_truth", flat=True),
            File(
                url=f"{MET}/test_met.tar.gz",
                name="test_met.tar.gz",
                size_bytes=34_048_842,
                sha256="2bc9b2e906d5fc69c4c136860b42604ef867b69ada10f1e08aa49175cbe08a35",
                unpack_to="images",
            ),
            File(url=f"{MET}/test_other.tar.gz", name="test_other.tar.gz", unpack_to="images"),
            File(url=f"{MET}/test_noart.tar.gz", name="test_noart.tar.gz", unpack_to="images"),
            File(url=f"{MET}/MET.tar.gz", name="MET.tar.gz", unpack_to="images"),
        ),
    ),
    Entry(
        name="product1m",
        kind="data set",
        note="Product1M: photographs of cosmetics, several products in each",
        licence=NO_LICENCE,
        home="https://github.com/zhanxlin/Product1M",
        folder="product1m",
        by_hand="Download the test set from the folder that the home page links (Google Drive). No public address of "
        "gnd_product1m.pkl is known: ask the authors of ELViS, or make it as docs/datasets/product1m.md says.",
        needs=("gnd_product1m.*",),
    ),
    Entry(
        name="rp2k",
        kind="data set",
        note="RP2K: products on the shelves of shops, of some 2,000 kinds",
        licence=NO_LICENCE,
        home="https://www.pinlandata.com/rp2k_dataset/",
        folder="rp2k",
        files=(
            File(
                url="https://blob-nips2020-rp2k-dataset.obs.cn-east-3.myhuaweicloud.com/rp2k_dataset.zip",
                name="rp2k_dataset.zip",
                size_bytes=6_330_687_649,
                sha256="4c32449993e720285865405c3b46d2958cb36f33a9d7db6c3d70bde49d580205",
                unpack_to="images",
            ),
        ),
        by_hand="No public address of test_gallery.txt and test_query.txt is known: ask the authors of ELViS, or make "
        "them as docs/datasets/rp2k.md says.",
        needs=("test_gallery.txt", "test_query.txt"),
    ),
    Entry(
        name="sop-1k",
        kind="data set",
        note="SOP-1k: the part of Stanford Online Products that ELViS evaluates on",
        licence=NO_LICENCE,
        home="https://github.com/pavelsuma/ELViS",
        folder="sop-1k",
        by_hand="Fetch sop, and let its images lie here as the lists name them. No public address of the lists is "
        "known: ask the authors of ELViS.",
        needs=("test_gallery.txt", "test_query.txt"),
    ),
    _ames_descriptors("roxford5k"),
    _ames_descriptors("rparis6k"),
    Entry(
        name="ames",
        kind="checkpoint",
        note="AMES, full precision and binarized, for DINOv2 and CVNet; the detectors that choose their descriptors",
        licence=NO_LICENCE,
        home="https://github.com/pavelsuma/ames",
        folder="checkpoints/ames",
        plain_http=HTTP_ONLY,
        files=_named(
            f"{SUMA}/ames/networks",
            "dinov2_ames.pt",
            "dinov2_ames_dist.pt",
            "cvnet_ames.pt",
            "cvnet_ames_dist.pt",
            "dinov2_detector.pt",
            "cvnet_detector.pt",
        ),
    ),
    Entry(
        name="elvis",
        kind="checkpoint",
        note="ELViS for DINOv2 (GLDv2, SOP), DINOv3 and SigLIP2; the detectors of the latter two",
        licence=NO_LICENCE,
        home="https://github.com/pavelsuma/ELViS",
        folder="checkpoints/elvis",
        plain_http=HTTP_ONLY,
        files=_named(
            SUMA,
            "elvis/networks/dinov2_elvis_gld.pt",
            "elvis/networks/dinov3_elvis_gld.pt",
            "elvis/networks/siglip2_elvis_gld.pt",
            "elvis/networks/dinov2_elvis_sop.pt",
            "ames/networks/dinov3_detector.pt",
            "ames/networks/siglip2_detector.pt",
        ),
    ),
    Entry(
        name="locore-base",
        kind="checkpoint",
        note="LOCORE base for DINOv2",
        licence=NO_LICENCE,
        home="https://huggingface.co/vislang/locore_dinov2_base",
        folder="checkpoints/locore-base",
        files=(File(url="hf:vislang/locore_dinov2_base", name="locore_base.safetensors"),),
    ),
    Entry(
        name="cvnet",
        kind="checkpoint",
        note="CVNet: R50 as the authors of AMES keep it, R101 by hand",
        licence=NO_LICENCE,
        home="https://github.com/sungonce/CVNet",
        folder="checkpoints/cvnet",
        plain_http=HTTP_ONLY,
        files=_named(f"{SUMA}/ames/networks", "CVPR2022_CVNet_R50.pyth"),
        by_hand="Download CVPR2022_CVNet_R101.pyth from the folder that the home page links (Google Drive).",
        needs=("CVPR2022_CVNet_R101.pyth",),
    ),
)

ENTRIES: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in _ALL})


def find(name: str) -> Entry:
    """The entry of this name; BenchError, with the names that there are, for another."""
    if name not in ENTRIES:
        raise unknown_name("entry", name, ENTRIES, cure="`python -m bench.fetch --list` says what each is.")
    return ENTRIES[name]
